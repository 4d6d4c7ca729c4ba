"""What every adapter on Redis needs: a client, scripts, cluster and Sentinel."""
