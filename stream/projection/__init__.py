"""Redis as a replica of the committed tables: its layout, who may write it, and how it is resynced."""
