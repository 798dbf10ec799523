"""What a project may have: one table, shown by the quota and limits calls and held when servers are made."""

from __future__ import annotations

QUOTAS = {
    "instances": 100,
    "cores": 200,
    "ram": 512 * 1024,
    "key_pairs": 100,
    "metadata_items": 128,
    "server_groups": 10,
    "server_group_members": 100,
    "injected_files": 5,
    "injected_file_content_bytes": 10240,
    "injected_file_path_bytes": 255,
}
