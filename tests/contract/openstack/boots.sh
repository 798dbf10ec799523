#!/usr/bin/env bash
# Two real guests by the real client: made, seen configured on their consoles, listed, deleted.
# OS_CLOUD and clouds.yaml as for any client; the image tiny is there. Ends with "done" when all of it worked.
set -eu
say() { printf '== %s\n' "$*"; }
printf '#cloud-config\nhostname: first\nruncmd:\n  - echo said-by-$(hostname)\n' > first.yaml
printf '#!/bin/sh\necho said-by-a-script\n' > second.sh

say create
openstack server create first --image tiny --flavor m1.tiny --network private --user-data first.yaml \
    --availability-zone nova --property role=web --wait -f value -c status
openstack server create second --image tiny --flavor m1.tiny --nic none --user-data second.sh \
    --config-drive True --password s3cret-word --wait -f value -c status

until_said() { # SERVER TEXT
    for _try in $(seq 60); do
        if openstack console log show "$1" | grep -F "$2"; then return; fi
        sleep 1
    done
    say "$1 never said $2"
    openstack console log show "$1"
    return 1
}
say console
until_said first said-by-first
until_said second said-by-a-script

say list
openstack server list -f value -c Name -c Status | sort
say delete
openstack server delete --wait first second > progress.txt
test -z "$(openstack server list -f value -c ID)"
say done
