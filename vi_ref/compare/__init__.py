"""Other libraries beside this one: an adapter a library, imported only where it is asked for, and what is measured."""
