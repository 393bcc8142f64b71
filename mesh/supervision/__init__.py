"""The programs of one machine: what runs, where its files are, who keeps it alive."""
