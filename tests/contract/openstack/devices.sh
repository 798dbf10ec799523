#!/usr/bin/env bash
# Real `openstack` commands for volumes, ports of servers and rescue, in order against a fresh cloud.
set -u
. "$(dirname "$0")/running.sh"

head -c 1048576 /dev/zero > disk.raw
run ok active image create cirros --file disk.raw --disk-format raw --container-format bare --property hw_disk_bus=virtio
run ok "" image create rescue --file disk.raw --disk-format raw --container-format bare

run ok cinder catalog list
run ok qcow2 volume type list
run ok data volume create data --size 2 --property purpose=test --description "some data"
soon ok available volume show data
run ok data volume list --long --status available
run ok "" volume set data --name store --property owner=me --size 3
soon ok 3 volume show store -f value -c size
run ok "" volume unset store --property purpose
run no "must be greater" volume set store --size 1
run no "No Volume found" volume show data
run ok True volume create system --size 1 --image cirros
soon ok available volume show system
run ok "" volume create copy --source store
soon ok available volume show copy
run no "" volume create huge --size 20000
run ok max_total_volumes limits show --absolute

run ok ACTIVE server create web-1 --image cirros --flavor m1.nano --network private --wait
run ok /dev/vdb server add volume web-1 store --tag database
run ok in-use volume show store
run ok database server volume list web-1
run no "must be available" server add volume web-1 store
run no "must not be attached" volume delete store
run ok attached volume attachment list --os-volume-api-version 3.27
run ok /dev/vdc server add volume web-1 copy --enable-delete-on-termination
run ok "$(value volume show store)" server show web-1
run ok "" volume set store --size 4
soon ok 4 volume show store -f value -c size
run ok "" server remove volume web-1 store
soon ok available volume show store
run no "" server remove volume web-1 store
run ok attach_volume server event list web-1

run no "not bootable" server create none --volume store --flavor m1.nano --network private
run ok ACTIVE server create boot-1 --volume system --flavor m1.nano --network private --wait
run ok in-use volume show system
run ok /dev/vda server volume list boot-1
run ok "booted from volume" server show boot-1
run no "root device" server remove volume boot-1 system
run ok "" server delete --wait boot-1
soon ok available volume show system
run ok ACTIVE server create boot-2 --image cirros --boot-from-volume 1 --flavor m1.nano --network private --wait
run ok "booted from volume" server list -c Image
run no "boots from a volume" server rescue boot-2
run ok "" server delete --wait boot-2

run ok "" network create back
run ok "" subnet create back-v4 --network back --subnet-range 192.168.7.0/24
run ok "" port create own --network back --fixed-ip ip-address=192.168.7.50
run ok "" server add port web-1 own --tag inner
run ok 192.168.7.50 server show web-1
run ok ACTIVE port show own
run no "still in use" server add port web-1 own
run ok "" server add network web-1 back
run ok "" server add fixed ip web-1 back --fixed-ip-address 192.168.7.77
run ok 192.168.7.77 server show web-1
run ok "" server remove port web-1 own
run ok DOWN port show own
run ok "" server remove network web-1 back
run ok "private=10.0.2.15" server list -c Networks

run ok "no backend carries packets" network show public
run ok public network list --external -c Name
run ok 203.0.113.10 floating ip create public --floating-ip-address 203.0.113.10 --description door
run ok DOWN floating ip show 203.0.113.10
run ok "" server add floating ip web-1 203.0.113.10
run ok "private=10.0.2.15, 203.0.113.10" server list -c Networks
run ok ACTIVE floating ip list --long
run ok 10.0.2.15 floating ip list --status ACTIVE
run ok "" floating ip set 203.0.113.10 --description gate
run ok gate floating ip show 203.0.113.10
run ok "" server remove floating ip web-1 203.0.113.10
run ok DOWN floating ip show 203.0.113.10
run ok "" port create outer --network back --fixed-ip ip-address=192.168.7.60
run ok "" floating ip set 203.0.113.10 --port outer
run ok 192.168.7.60 floating ip show 203.0.113.10
run no "already has a floating IP" floating ip create public --port outer
run ok "" floating ip unset 203.0.113.10 --port
run ok DOWN floating ip show 203.0.113.10
run no "is disallowed" port create wrong --network public
run no "not allowed to create an interface on external network" server create --image cirros --flavor m1.nano --network public web-9
run ok "" floating ip delete 203.0.113.10
run no "" floating ip show 203.0.113.10

run ok "" server rescue web-1 --image rescue
soon ok RESCUE server show web-1
run no "vm_state rescued" server rescue web-1
run ok "" server unrescue web-1
soon ok ACTIVE server show web-1
run ok ACTIVE server create web-2 --image cirros --flavor m1.nano --port own --wait
run ok "" server delete --wait web-2
run ok DOWN port show own
run ok "" server delete web-1
soon no "No Volume found" volume show copy
run ok "" volume delete store
run ok "" volume delete system
soon no "" volume show store

printf '%d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
