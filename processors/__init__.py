"""From prompt to tokens, and from records to analytics.

Reads commands from `tokenwire.prompts` and answers from model providers; writes session logs, the journal, records
and ClickHouse rows. Guarantees: every accepted prompt ends exactly once, one paid call per attempt.

The folders lie in the order in which a prompt meets them: `group`, `intake`, `turns`, `attempts`, `sessions`,
`targets`, `providers`, and `ledger` (what users may use) and `writing` below all; `analytics` stands beside them. Pure
in here: every `decisions`.

What can go wrong, and whose fault it is. Each has its class where it is raised; those that nobody need tell apart are
caught by the name above them.

ClusterUnavailable        the cluster's: the same is done again later (`infra/kafka/cluster_errors.py` has the rest)
├── LogError
│   └── LogReplaced       the log was deleted: what was folded says nothing of it
└── AppendFailed          records were not taken in time; whether they lie there is unknown
    └── LogGone           their topic was deleted
ProviderError             the provider's, or the prompt's: another target, later, or the end (`providers/provider.py`)
nobody's: somebody else was first, or the turn went another way
├── RunVoided             another worker's attempt counts; this one writes no more
├── TopicUnmade           a prompt's session has no topic yet: it waits apart (`intake/parked_prompts.py`)
├── OwnershipLost         the partitions of records are another's
├── GateShut              the partition is another worker's: no attempt begins here
├── Outpaced              the turn's other call spoke first
├── RouteStopped          the turn was stopped while it waited for a target
└── NoTarget              no target can take the call, now or in time
the operator's, or the prompt's: the same would end the same way
├── AppendRefused         records are too large
├── LimitMet              a limit of the user's leaves no room for it, or for more of it
└── NotScores             the scorer that the settings name returns no scores
ours: raised, and nothing changes
├── IllegalEvent          a turn's life has no such step
├── IllegalTransition     a breaker has none
└── UnknownRun            an account has no such run open
"""

__all__: list[str] = []
