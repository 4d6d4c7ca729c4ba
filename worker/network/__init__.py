"""What every client of ours that speaks HTTP needs: one deadline for all of a request, times in headers."""
