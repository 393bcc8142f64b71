"""Who may do what: roles, bindings, hosts; pure questions of an identity, a view and a wish."""
