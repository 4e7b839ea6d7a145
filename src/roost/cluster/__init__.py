"""Floor 5: who is where. Links between nodes, membership, the ring, vnodes, coordinators and handoff, and the `Node`
that holds them together. Imports the floors below it: core, wire, runtime, otp.
"""
