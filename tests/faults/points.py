"""points.py - the moments at which a process may die: before or after each of its file operations, forks and answers.

Nothing else of a process outlives it, so between two of these it does not matter where it dies; and none of them needs
a hook in the programs. name: (kind of call, on what).
"""
POINTS = {
    "store: a page of a transaction is written": ("write", "*/baka.db-wal"),
    "store: a transaction is synced": ("sync", "*/baka.db-wal"),
    "store: a page goes to its place": ("write", "*/baka.db"),
    "store: the database is synced": ("sync", "*/baka.db"),
    "api: an answer is sent": ("reply", "socket:*"),
    "supervisor: a directory is made": ("mkdir", "*/runs/*"),
    "supervisor: the spec is in its place": ("rename", "*/spec.json.tmp*"),
    "supervisor: the lock is made": ("open", "*/attempts/*/lock"),
    "supervisor: the log is made": ("open", "*/attempts/*/worker.log"),
    "supervisor: the keeper is started": ("spawn", "*/bakad"),
    "supervisor: an old checkpoint is removed": ("remove", "*/checkpoints/*"),
    "keeper: it signs the lock": ("write", "*/attempts/*/lock"),
    "keeper: the trainer is started": ("spawn", "*/baka-worker"),
    "keeper: exit.json is written": ("write", "*/.exit.json.tmp"),
    "keeper: exit.json is in its place": ("rename", "*/.exit.json.tmp"),
    "ingest: a record is there to be read": ("write", "*/attempts/*/journal"),
    "trainer: the journal is made": ("open", "*/attempts/*/journal"),
    "trainer: the journal is synced": ("sync", "*/attempts/*/journal"),
    "checkpoint: its folder is made": ("mkdir", "*/checkpoints/.tmp-*"),
    "checkpoint: a tensor is written": ("write", "*/checkpoints/*/model.safetensors"),
    "checkpoint: the state is written": ("write", "*/checkpoints/*/state.json"),
    "checkpoint: the manifest is written": ("write", "*/checkpoints/*/manifest.json"),
    "checkpoint: its files are synced": ("sync", "*/checkpoints/.tmp-*"),
    "checkpoint: it is in its place": ("rename", "*/checkpoints/.tmp-*"),
    "checkpoint: its place is synced": ("sync", "*/checkpoints"),
}
