"""Every metric of the running system, in one place: an unknown name is a type error.

Names start with reelsort_, times are seconds, counters end in _total. Labels are small closed sets: never a video, an
author, a host or an offset.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# from a cache hit (0.1 ms) to a long decode on a busy machine (a minute)
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_FILL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

# --- consumer runtime ---------------------------------------------------------------------------------------------
# records handed to the job
RECORDS = Counter("reelsort_consumer_records_total", "Records read and handed to the job.", ["topic"])
# records handed to the job and not yet durable
IN_FLIGHT = Gauge("reelsort_consumer_in_flight", "Records read whose effects are not durable yet.")
# 1 while reading is paused: the job is full, or has declared a back-off
PAUSED = Gauge("reelsort_consumer_paused", "1 while all partitions are paused.", ["why"])
# partitions held now
ASSIGNED = Gauge("reelsort_consumer_assigned_partitions", "Partitions this member holds.")
# how often partitions come and go
REBALANCES = Counter("reelsort_consumer_rebalances_total", "Assignments, revocations and losses.", ["kind"])
# records given up unfinished at a revocation: they are delivered again to the next owner
ABANDONED = Counter("reelsort_consumer_abandoned_records_total", "Records given up unfinished.", ["why"])
# offset commits by outcome
COMMITS = Counter("reelsort_consumer_commits_total", "Offset commits.", ["outcome"])
# high watermark minus the durable prefix
LAG_MESSAGES = Gauge(
    "reelsort_consumer_lag_messages", "Records published and not durable here.", ["topic", "partition"]
)
# how far behind the events are, whatever their rate
LAG_SECONDS = Gauge("reelsort_consumer_lag_seconds", "Age of the oldest record in hand.", ["topic", "partition"])

# --- classify -----------------------------------------------------------------------------------------------------
# one video through one stage: lookup, fetch, decode, prepare, vision, fusion, decide, store
STAGE_SECONDS = Histogram("reelsort_stage_seconds", "Time of one stage.", ["stage"], buckets=_SECONDS)
# publication to commit
LABEL_SECONDS = Histogram(
    "reelsort_label_latency_seconds", "From an event's time stamp to its committed label.", buckets=_SECONDS
)
# level: the deepest level published (2, 1, none); reason: the first reason code, or empty
DECISIONS = Counter("reelsort_decisions_total", "Decisions committed.", ["level", "route", "reason"])
# inputs seen before whose stored answer was used
ALREADY_DECIDED = Counter("reelsort_already_decided_total", "Redelivered inputs that changed nothing.")
# code: the stable word of schemas and PoisonError
DEAD_LETTERS = Counter("reelsort_dead_letters_total", "Inputs given up for good.", ["code"])
# code: the stable word of TransientError
RETRIES = Counter("reelsort_retries_total", "Inputs sent to the retry topic.", ["code"])
# how full the device's batches are: rows used / rows possible
BATCH_FILL = Histogram("reelsort_batch_fill_ratio", "Fill of model batches.", ["bucket"], buckets=_FILL)
# rows of one Postgres transaction
STORE_BATCH = Histogram(
    "reelsort_store_batch_records", "Records per Postgres transaction.", buckets=(1, 4, 16, 64, 256, 1024, 4096)
)
# 1 while a breaker holds all work back
BREAKER_OPEN = Gauge("reelsort_breaker_open", "1 while the breaker is open.", ["breaker"])
# decode children that died and were replaced
DECODER_RESTARTS = Counter("reelsort_decoder_restarts_total", "Decode children replaced.", ["why"])

# --- rescore -------------------------------------------------------------------------------------------------------
# decisions that new evidence led to; where nothing would be published differently there is none
RESCORED = Counter("reelsort_rescored_total", "Decisions made again and committed.", ["route", "reason"])
# why: review_expired, over_budget
TASKS_CLOSED = Counter("reelsort_review_tasks_closed_total", "Review tasks closed undecided.", ["why"])

# --- outbox and relay ---------------------------------------------------------------------------------------------
# rows waiting, due or not
OUTBOX_ROWS = Gauge("reelsort_outbox_rows", "Rows in the outbox.", ["topic"])
# how late the oldest due row is
OUTBOX_OLDEST_SECONDS = Gauge("reelsort_outbox_oldest_seconds", "Age of the oldest row that is due.")
# 1 while the outbox is over relay.backlog_alarm
OUTBOX_ALARM = Gauge("reelsort_outbox_backlog_alarm", "1 while the outbox is longer than the alarm allows.")
# records whose Kafka transaction committed
RELAYED = Counter("reelsort_relay_records_total", "Records sent.", ["topic"])
# transactions by outcome: committed, aborted, unknown
RELAY_TRANSACTIONS = Counter("reelsort_relay_transactions_total", "Kafka transactions of the relay.", ["outcome"])
# 1 while a topic, or one key of it, cannot be written; its rows wait in the outbox
RELAY_HELD = Gauge("reelsort_relay_held", "1 while rows of a topic are held back because it refuses them.", ["topic"])
# shard groups owned by this process
RELAY_GROUPS = Gauge("reelsort_relay_groups_owned", "Shard groups this process owns.")

# --- signals ------------------------------------------------------------------------------------------------------
# outcome: applied; repeated, read again after a crash; outdated, of a revision that was replaced; or the stable word
# of what is wrong with one that is no action
ACTIONS = Counter("reelsort_signals_actions_total", "Actions read.", ["outcome"])
# acknowledged by Kafka
SNAPSHOTS = Counter("reelsort_signals_snapshots_total", "Snapshots told.")
# in the table of this process
SIGNALS_VIDEOS = Gauge("reelsort_signals_videos", "Videos in the table.")
# changed, and not told yet
SIGNALS_DIRTY = Gauge("reelsort_signals_dirty_videos", "Videos of which a snapshot is to be told.")
# forgotten after signals.expire_after_h without an action
SIGNALS_EXPIRED = Counter("reelsort_signals_expired_total", "Videos that expired from the table.")
# the last one, from losing the partitions to reading actions again
RECOVERY_SECONDS = Gauge("reelsort_signals_recovery_seconds", "How long the table's last recovery took.")
# 1 while a recovery takes longer than signals.recovery_alarm_s
RECOVERY_ALARM = Gauge("reelsort_signals_recovery_alarm", "1 while a recovery takes too long.")
