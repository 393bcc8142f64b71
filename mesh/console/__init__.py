"""The console: a read-only web page of the mesh, served by meshd to whoever `mesh console` has signed in."""
