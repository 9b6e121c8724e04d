package diagnose

// nodeDown are the checks that explain what else is wrong on a node: what should change
// there does not run, does not answer, or cannot be seen.
func nodeDown(more ...cause) []cause {
	return append([]cause{
		{nodeSilent.Code, sameNode}, {nodeComponent.Code, sameNode}, {daemonSilent.Code, sameNode}, {databaseUnread.Code, sameNode},
	}, more...)
}
