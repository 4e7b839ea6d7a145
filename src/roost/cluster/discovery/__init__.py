"""Finding members to join: one small protocol, five strategies, one supervised process that runs them.

    static:host:port,host:port              these addresses
    dns:name:port                           every A and AAAA record of a name, such as a headless service of Kubernetes
    kubernetes:namespace/selector:port      the pods with these labels, from the API of Kubernetes
    siblings:folder                         the other workers of one server on this machine; set by Roost itself
    zenoh:[file]                            whoever has a liveliness token in Eclipse Zenoh; needs the extra `zenoh`

After libcluster's strategies. What is found is an address where a member may be; whether it is one, and of which
cluster, is known after a handshake, and whether to join it is for the membership to decide.
"""
