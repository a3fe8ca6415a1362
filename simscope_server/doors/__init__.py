"""What comes in, through whichever door, and becomes a delivery for the ledger."""
