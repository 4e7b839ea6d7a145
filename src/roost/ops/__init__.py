"""Floor 9: what the operator sees. The command line (`cli`), the parent process of a cluster on one machine
(`launcher`), the process of one node (`node`), and the console that asks a running node (`console`, `render`).
"""
