"""Floor 2: bytes to values and back, with no input or output. Links between nodes: `frames`, `handshake`, `messages`,
`failures`. Browsers: `phoenix`.
"""
