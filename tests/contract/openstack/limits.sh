#!/usr/bin/env bash
# Real `openstack` commands: quotas of projects and what they refuse, flavors for some, servers by the dozen,
# and what this cloud has none of. In order against a fresh cloud.
set -u
. "$(dirname "$0")/running.sh"

head -c 1048576 /dev/zero > disk.raw
run ok active image create cirros --file disk.raw --disk-format raw --container-format bare
run ok blue project create blue

run ok " 100 " quota show --compute demo
run ok "" quota set --instances 3 --key-pairs 1 --server-groups 1 demo
run ok " 3 " quota show --compute demo
run ok 100 quota show --default
run no "" quota set --instances -2 demo
run no "Method Not Allowed" quota set --class --instances 5 demo
run ok many-1 server create --image cirros --flavor m1.nano --nic none --min 2 --max 9 many
run ok many-3 server list -c Name
run no "Quota exceeded for instances: Requested 1, but already used 3 of 3" server create --image cirros --flavor m1.nano --nic none one
run no "must be greater than or equal" quota set --instances 2 demo
run ok "" quota set --force --instances 2 demo
run ok instances quota show --usage demo
run ok 3 limits show --absolute
soon ok ACTIVE server show many-1
run ok "" keypair create --private-key a.key a
run no "too many key pairs" keypair create --private-key b.key b
run ok "" server group create a
run no "too many server groups" server group create b
run ok many-1 server list --name many-1 --not-tags none --unlocked --power-state running
run ok demo usage list
run ok Servers usage show

run ok "" quota set --networks 2 --subnets 2 --ports 1 --secgroups 2 --secgroup-rules 5 demo
run ok 1400 network create --mtu 1400 back
run no "Quota exceeded for resources: ['network']" network create more
run ok "" port create --network back p
run no "['port']" port create --network back q
run ok "" quota set --instances 9 demo
run no "Maximum number of ports exceeded" server create --image cirros --flavor m1.nano --network private x
run ok "" security group create web
run no "['security_group']" security group create db
run ok "" security group rule create --protocol tcp --dst-port 22 web
run no "already exists" security group rule create --protocol tcp --dst-port 22 web
run no "protocol nope not supported" security group rule create --protocol nope web
run ok "" quota set --volumes 1 --gigabytes 2 demo
run no "exceeds allowed gigabytes quota" volume create --size 3 big
run ok "" volume create --size 1 small
run no "Maximum number of volumes allowed (1)" volume create --size 1 other
run ok "" quota delete demo
run ok " 100 " quota show --compute demo

run ok "" flavor create --id s1 --ram 64 --disk 0 --vcpus 1 --private --project blue secret
run ok "" flavor set --description "for some" secret
run ok "for some" flavor show secret
run ok "" flavor unset --project blue secret
run ok secret flavor list --private

run ok words server create --image cirros --flavor m1.nano --nic none --description "some words" worded
soon ok "some words" server show worded
run ok "" server set --description "other words" worded
run ok "other words" server show worded
run ok "" server rebuild --image cirros --name renamed --property a=b --description "new words" worded
soon ok ACTIVE server show renamed
run ok "new words" server show renamed
run no "not saved to disk" server suspend renamed
run no "make an image" server shelve renamed
run no "stay on their host" server migrate renamed
run no "Unavailable console type novnc" console url show renamed
run ok "" server add security group renamed web
run ok web server show renamed
run ok "" server remove security group renamed web
run no "Quota exceeded for resources: ['router']" router create r
run no "is not a valid external network" floating ip create back
run ok "" quota set --floating-ips 1 demo
run ok 203.0.113. floating ip create public
run no "Quota exceeded for resources: ['floatingip']" floating ip create public
run ok "" quota delete demo
run no "snapshots allowed (0)" volume snapshot create --volume small --force s
run ok "" volume snapshot list
run no "backups allowed (0)" volume backup create --force small
run ok "" volume backup list
run ok "" server migration list
run ok MEMORY_MB resource class list

printf '%d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
