"""What publishers may say: the words of the protocol, and how bytes become messages. Pure."""
