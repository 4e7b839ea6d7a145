"""Floor 6: what is remembered. `storage` keeps bytes in memory and on disk, `kv_vnode` is one partition of the
key-value store, `kv` is its face. Imports the floors below it.
"""
