#!/usr/bin/env bash
# Real `openstack` commands in order against a fresh cloud (OS_CLOUD and clouds.yaml in the working directory).
# What is run with `ok` must succeed, with `no` must fail; the word after that must be in the output.
# Prints one line a command and ends with "N passed, N failed".
set -u
. "$(dirname "$0")/running.sh"

head -c 1048576 /dev/zero > disk.raw
printf 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq0tmXNeXv4qAxb7c2b4O5W1YsyUy4IVYQbWdJzk4Ev test\n' > key.pub
printf '#cloud-config\nhostname: web\n' > user-data

run ok "" token issue
run ok nova catalog list
run ok demo project list
run ok demo project show demo
run ok admin user show admin
run ok "" application credential create ci --secret s3cret
run ok ci application credential list
run ok "" application credential delete ci

run ok active image create cirros --file disk.raw --disk-format raw --container-format bare --property hw_disk_bus=virtio --public
run ok cirros image list
run ok hw_disk_bus image show cirros
run ok "" image set cirros --property os_distro=tiny --min-ram 64
run ok os_distro image show cirros
run ok "" image unset cirros --property os_distro
run ok "" image save cirros --file saved.raw
cmp disk.raw saved.raw || failed=$((failed + 1))
run no "Declared as qcow2" image create worse --file disk.raw --disk-format qcow2 --container-format bare
run no "No Image found" image show no-such-image

run ok m1.tiny flavor list
run ok "" flavor create m9.test --vcpus 1 --ram 128 --disk 1 --property quota:a=b
run ok quota:a flavor show m9.test
run ok "" flavor set m9.test --property x=y
run ok "" flavor delete m9.test
run no "No Flavor found" flavor show m9.test

run ok "" keypair create --public-key key.pub laptop
run ok "" keypair create made --private-key made.key
run ok laptop keypair list
run ok laptop keypair show laptop
run no "already exists" keypair create --public-key key.pub laptop
run ok "" keypair delete made

run ok private network list
run ok "" network create back
run ok 192.168.7.1 subnet create back-v4 --network back --subnet-range 192.168.7.0/24
run ok back-v4 subnet list
run ok back-v4 subnet show back-v4
run ok 192.168.7.50 port create fixed --network back --fixed-ip ip-address=192.168.7.50
run no "already allocated" port create twin --network back --fixed-ip ip-address=192.168.7.50
run ok fixed port list
run ok 192.168.7.50 port show fixed
run ok "" security group create web --description "the web"
run ok "" security group rule create web --protocol tcp --dst-port 80
run ok web security group list
run ok 80:80 security group rule list web

run ok "" server group create --policy anti-affinity apart
run ok anti-affinity server group show apart
run ok ACTIVE server create web-1 --image cirros --flavor m1.nano --key-name laptop --network private --security-group web --user-data user-data --config-drive True --property a=b --tag blue --hostname web-one --hint group="$(value server group show apart)" --wait
run ok web-2 server create web-2 --image cirros --flavor m1.nano --nic net-id=back --hint group="$(value server group show apart)"
soon ok ACTIVE server show web-2
run no "" server create web-3 --image cirros --flavor m1.nano --network private --hint group="$(value server group show apart)" --wait
run ok "No valid host" server show web-3
run ok web-1 server list --long
run ok web-1 server list --name web-1 --status ACTIVE
run ok 10.0.2.15 server show web-1
run ok 192.168.7. server show web-2
run ok "fake console" console log show web-1
run ok "" server stop web-1
soon ok SHUTOFF server show web-1
run no "vm_state stopped" server stop web-1
run ok "" server start web-1
soon ok ACTIVE server show web-1
run ok "" server reboot --hard --wait web-1
run ok "" server reboot --wait web-1
run ok "" server pause web-1
soon ok PAUSED server show web-1
run ok "" server unpause web-1
soon ok ACTIVE server show web-1
run ok "" server lock web-1
run no "locked" server stop web-1
run ok "" server unlock web-1
run ok "" server set web-1 --property c=d --name web-one
run ok "c='d'" server show web-one
run ok "" server unset web-one --property c
run ok "" server rebuild --image cirros --wait web-one
run ok snap server image create --name snap web-one
soon ok active image show snap
run ok snapshot image show snap
run ok "" image delete snap
run ok "" server resize --flavor m1.tiny --wait web-one
run ok VERIFY_RESIZE server show web-one
run ok "" server resize confirm web-one
soon ok ACTIVE server show web-one
run ok m1.tiny server show web-one
run ok "" server resize --flavor m1.small web-one
soon ok VERIFY_RESIZE server show web-one
run ok "" server resize revert web-one
soon ok ACTIVE server show web-one
run ok m1.tiny server show web-one
run ok create server event list web-one
run ok "" port create late --network back
run no "in use" image delete cirros

run ok host-1 hypervisor list
run ok enabled hypervisor show host-1
run ok nova availability zone list
run ok nova-compute compute service list
provider=$(openstack resource provider list --name host-1 -f value -c uuid)
run ok host-1 resource provider list
run ok host-1 resource provider show "$provider"
run ok MEMORY_MB resource provider inventory list "$provider"
run ok VCPU resource provider usage show "$provider"
run ok max_total_instances limits show --absolute
run ok instances quota show

run ok "" server delete --wait web-one web-2
run ok "" server delete web-3
run no "No Server found" server show web-one
run ok "" port delete fixed
run ok "" port delete late
run ok "" network delete back
run ok "" security group delete web
run ok "" server group delete apart
run ok "" image delete cirros
run ok "" keypair delete laptop

printf '%d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
