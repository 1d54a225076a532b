# SPDX-License-Identifier: Apache-2.0
"""What a worker's table of connections costs at a million connections: CPU time, allocations, heap. There is no peer."""
import tables

if __name__ == "__main__":
    tables.main("connections", __doc__)
