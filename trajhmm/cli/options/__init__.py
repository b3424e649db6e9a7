"""What users give to verbs: arguments and options that several have, and what is read from them."""
