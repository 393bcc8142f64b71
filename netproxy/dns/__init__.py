"""The cluster's name service: answers from the same table as the proxy, so that name and address never disagree."""
