"""The steps of `relations import`: parse options, open the file, estimate or load, follow, summarize."""
