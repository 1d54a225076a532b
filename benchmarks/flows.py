# SPDX-License-Identifier: Apache-2.0
"""What the table of installed flows costs at a million flows: CPU time, allocations, heap. There is no peer."""
import tables

if __name__ == "__main__":
    tables.main("flows", __doc__)
