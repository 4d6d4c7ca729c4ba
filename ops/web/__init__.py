"""What the HTTP interface serves to operators and to Prometheus; `producers.portals.http` serves portals."""
