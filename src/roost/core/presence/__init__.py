"""Who is present under which topic, on the whole cluster: the replicated state behind `live.presence`.

Theory of operation. Every node is the only writer of its own presences. Its changes are *events*, numbered from 1: an
event adds a presence, which has its number as its *dot*, or removes one. What another node knows of it is a `Replica`:
the set of events that it has seen, as spans without holes wherever possible, and the presences that are left. A
`Fragment` says of some events what is left of them; a delta and a whole state are both fragments, so there is one
`merge`. It is the optimized observed-remove set of Bieniusa et al. (An optimized conflict-free replicated set, 2012)
with deltas as of Almeida et al. (Delta state replicated data types, 2018): merging is commutative, associative and
idempotent, and a fragment may come from anybody who has it, in any order, any number of times.

What is *known* and what is *shown* are kept apart, which is what makes ghosts impossible. Presences of a node are shown
only while somebody who can be reached has a link with it (`Reach`); there is no clock in this rule, and no tombstone.

Topics are divided into shards, each with events of its own, so that a huge one does not hold up the others.

Begin with `presences.py`; `replica.py` has the algebra.
"""
