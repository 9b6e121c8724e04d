package keylock_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ovnkctl/ovnkctl/internal/cni/keylock"
)

func TestOneAtATime(t *testing.T) {
	t.Parallel()
	var locks keylock.Locks
	var wg sync.WaitGroup
	inside, total := 0, 0
	for range 100 {
		wg.Go(func() {
			unlock, err := locks.Lock(t.Context(), "pod")
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if inside++; inside != 1 {
				t.Errorf("%d holders at once", inside)
			}
			total++
			inside--
		})
	}
	wg.Wait()
	if total != 100 || locks.Len() != 0 {
		t.Errorf("%d turns, %d keys left", total, locks.Len())
	}
}

func TestOtherKeysDoNotWait(t *testing.T) {
	t.Parallel()
	var locks keylock.Locks
	unlockA, _ := locks.Lock(t.Context(), "a")
	unlockB, err := locks.Lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	unlockA()
	unlockB()
}

func TestWaitingEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks keylock.Locks
		unlock, _ := locks.Lock(t.Context(), "a")
		reason := errors.New("the pod was deleted")
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() {
			_, err := locks.Lock(ctx, "a")
			done <- err
		}()
		synctest.Wait()
		cancel(reason)
		if err := <-done; !errors.Is(err, reason) {
			t.Errorf("got %v, want the cause", err)
		}
		unlock()
		if again, err := locks.Lock(t.Context(), "a"); err != nil {
			t.Error("the lock was lost with the waiter")
		} else {
			again()
		}
		if locks.Len() != 0 {
			t.Errorf("%d keys left", locks.Len())
		}
	})
}
