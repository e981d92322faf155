"""The page that shows someone new at every reload, and the API behind it (extra `web`)."""
