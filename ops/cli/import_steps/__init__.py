"""The steps of `relations import`: open the file, load it, wait for its jobs, and summarize."""
