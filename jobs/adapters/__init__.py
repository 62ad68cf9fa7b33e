"""Adapter directories of AdapterHub and PEFT, read and written."""
