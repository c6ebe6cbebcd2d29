"""One counting job a system, each in a process of its own and with its own libraries; run.py starts them.

What a job needs comes in environment variables:
    PEER_KAFKA               bootstrap servers
    PEER_TOPIC               the events, in 4 partitions
    PEER_OUTPUT              where each new count goes: key = the cell (`cells.py`), value = the count
    PEER_GROUP               consumer group, application id, or prefix of transactional ids
    PEER_STATE               a folder that is kept across a crash
    PEER_INTERVAL_MS         between two commits, checkpoints or snapshots
    PEER_SESSION_TIMEOUT_MS  after how long without a heartbeat the broker gives the partitions away
"""
