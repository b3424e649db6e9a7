"""What verbs say: to a terminal, into files, as tables for print."""
