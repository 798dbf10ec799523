#!/usr/bin/env bash
# Real `openstack` commands for projects, users, roles, passwords and tokens, in order against a fresh cloud.
set -u
. "$(dirname "$0")/running.sh"

run ok blue project create --description "the blue ones" blue
run no "same name" project create blue
run ok blue project create --or-show blue
run ok "" project set --description "very blue" blue
run ok "very blue" project show blue
run ok blue project list --long

run ok bob user create --project blue --password bobpass --email bob@example.org --description "he" bob
run no "Duplicate entry" user create --password other bob
run ok bob@example.org user show bob
run ok "" user set --email bob@example.net --enable bob
run ok bob@example.net user list --long
run ok "" role add --project blue --user bob member
run no "" role add --project blue --user bob chef
run ok member role list
run ok member role show member
run ok blue@Default role assignment list --user bob --project blue --names
run ok reader role assignment list --user bob --effective --names
run ok admin role assignment list --auth-user --names
run ok bob user list --project blue

as_bob() { printf '%s\n' --os-username bob --os-password "$1" --os-project-name blue; }
run ok blue $(as_bob bobpass) project list
run ok "" $(as_bob bobpass) server list
run no "identity:manage" $(as_bob bobpass) project create red
run no "No Project found" $(as_bob bobpass) project show demo
run no "identity:manage" $(as_bob bobpass) user set --name eve bob
token=$(openstack $(as_bob bobpass) token issue -f value -c id)
run ok "" $(as_bob bobpass) token revoke "$token"
run no "Could not find token" $(as_bob bobpass) token revoke "$token"
run ok "" $(as_bob bobpass) user password set --original-password bobpass --password newpass
run no "401" $(as_bob bobpass) project list
run ok blue $(as_bob newpass) project list
run ok "" user set --password again bob
run ok blue $(as_bob again) project list

head -c 4096 /dev/zero > disk.raw
run ok shared image create common --shared --file disk.raw --disk-format raw --container-format bare
image=$(value image show common)
run no "" $(as_bob again) image show "$image"
run ok pending image add project common "$(value project show blue)"
run no "duplicated" image add project common "$(value project show blue)"
run no "" image set --accept --project "$(value project show demo)" common
run ok common $(as_bob again) image show "$image"
run ok common $(as_bob again) image list --shared --member-status pending
run ok "" $(as_bob again) image set --accept --project "$(value project show blue)" "$image"
run ok common $(as_bob again) image list
run ok accepted image member list common
run no "not permitted" $(as_bob again) image delete "$image"
run ok "" image remove project common "$(value project show blue)"
run no "" $(as_bob again) image show "$image"
run ok "" image delete common
run ok "" role remove --project blue --user bob member
run no "401" $(as_bob again) project list
run ok "" role add --project blue --user bob reader
run no "compute:keypair" $(as_bob again) keypair create mine --private-key mine.key
run ok "" project set --disable blue
run no "401" $(as_bob again) project list
run ok "" project set --enable blue
run ok "" user set --disable bob
run no "401" $(as_bob again) project list

run no "Your own user" user delete admin
run no "signed in to" project delete demo
run ok "" user delete bob
run no "No User found" user show bob
run ok "" project delete blue
run no "No Project found" project show blue
run ok Default domain list
run ok Default domain show default
run ok RegionOne region list
run ok keystone service list
run ok compute endpoint list
run ok nova catalog show compute

printf '%d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
