"""The operators' endpoints by what they are about: each route stands above the handler that answers it."""
