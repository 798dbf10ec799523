"""One example for each module's page in docs/reference/modules; tests plan every one of them."""

from __future__ import annotations

EXAMPLES: dict[str, str] = {
    "ansible": """\
ansible:
  install_method: distro
  package_name: ansible-core
  pull:
    - url: https://git.example.org/site.git
      playbook_names: [web.yml]
""",
    "apk_configure": """\
apk_repos:
  alpine_repo:
    version: v3.22
    community_enabled: true
""",
    "apt_configure": """\
apt:
  primary:
    - arches: [default]
      uri: http://mirror.example.org/debian
  disable_suites: [backports]
  http_proxy: http://proxy.example.org:3128
  sources:
    docker:
      source: deb [signed-by=$KEY_FILE] https://download.docker.com/linux/debian $RELEASE stable
      keyid: 9DC858229FC7DD38854AE2D88D81803C0EBFCD88
""",
    "apt_pipelining": "apt_pipelining: false\n",
    "bootcmd": """\
bootcmd:
  - echo "instance $INSTANCE_ID" > /dev/kmsg
  - [modprobe, dummy]
""",
    "ca_certs": """\
ca_certs:
  trusted:
    - |
      -----BEGIN CERTIFICATE-----
      MIIB...
      -----END CERTIFICATE-----
""",
    "disable_ec2_metadata": "disable_ec2_metadata: true\n",
    "disk_setup": """\
disk_setup:
  /dev/vdb:
    table_type: gpt
    layout: [50, 50]
fs_setup:
  - label: data
    filesystem: ext4
    device: /dev/vdb
    partition: auto
""",
    "final_message": "final_message: ready after $UPTIME seconds, by $datasource\n",
    "growpart": """\
growpart:
  mode: auto
  devices: [/, /srv]
""",
    "grub_dpkg": """\
grub_dpkg:
  enabled: true
  grub-pc/install_devices: /dev/vda
""",
    "install_hotplug": """\
updates:
  network:
    when: [boot-new-instance, hotplug]
""",
    "keyboard": """\
keyboard:
  layout: de
  variant: nodeadkeys
""",
    "keys_to_console": """\
ssh:
  emit_keys_to_console: true
ssh_key_console_blacklist: [ssh-rsa]
""",
    "locale": "locale: de_DE.UTF-8\n",
    "mounts": """\
mounts:
  - [/dev/vdb1, /srv/data, ext4, "defaults,nofail", "0", "2"]
swap:
  filename: /swap.img
  size: auto
  maxsize: 2G
""",
    "ntp": """\
ntp:
  ntp_client: chrony
  servers: [time.example.org]
""",
    "package_update_upgrade_install": """\
package_update: true
packages:
  - nginx
  - [git, "1:2.47.2-0.2"]
package_reboot_if_required: true
""",
    "phone_home": """\
phone_home:
  url: https://inventory.example.org/$INSTANCE_ID/
  post: [instance_id, fqdn, pub_key_ed25519]
  tries: 5
""",
    "power_state_change": """\
power_state:
  mode: reboot
  delay: now
  condition: test -e /var/run/reboot-required
""",
    "resizefs": "resize_rootfs: noblock\n",
    "resolv_conf": """\
manage_resolv_conf: true
resolv_conf:
  nameservers: [10.0.0.2]
  searchdomains: [example.org]
  options: {rotate: true, timeout: 1}
""",
    "rsyslog": """\
rsyslog:
  remotes:
    central: "*.* @@logs.example.org:514"
""",
    "runcmd": """\
runcmd:
  - echo ready > /run/ready
  - [systemctl, restart, nginx]
""",
    "scripts_per_boot": "# Put executable files into /var/lib/cloud/scripts/per-boot of the image.\n",
    "scripts_per_instance": "# Put executable files into /var/lib/cloud/scripts/per-instance of the image.\n",
    "scripts_per_once": "# Put executable files into /var/lib/cloud/scripts/per-once of the image.\n",
    "scripts_user": "# Each part of the user data that starts with #! is such a script; runcmd writes one.\n",
    "scripts_vendor": """\
vendor_data:
  enabled: true
  prefix: [nice, "-n", "10"]
""",
    "seed_random": """\
random_seed:
  file: /dev/urandom
  data: c2VlZA==
  encoding: base64
""",
    "set_hostname": """\
hostname: web-1
fqdn: web-1.example.org
prefer_fqdn_over_hostname: false
""",
    "set_passwords": """\
ssh_pwauth: true
chpasswd:
  expire: false
  users:
    - {name: ana, type: hash, password: $6$salt$hash}
    - {name: bob, type: RANDOM}
""",
    "ssh": """\
ssh_genkeytypes: [ed25519]
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDDLI54EmUUb01RiQblXk7sQyhVYMrrWGU7hQtMgZ2tF ana@laptop
disable_root: true
""",
    "ssh_authkey_fingerprints": "authkey_hash: sha256\n",
    "snap": """\
snap:
  commands:
    - snap install lxd --channel=5.21/stable
    - [refresh, --hold=48h, lxd]
""",
    "ssh_import_id": "ssh_import_id: [gh:ana, lp:ana]\n",
    "timezone": "timezone: Europe/Berlin\n",
    "update_etc_hosts": """\
manage_etc_hosts: localhost
hostname: web-1
""",
    "update_hostname": """\
hostname: web-1
preserve_hostname: false
""",
    "users_groups": """\
groups:
  - web
  - ops: [root]
users:
  - default
  - name: ana
    gecos: Ana
    groups: [web]
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDDLI54EmUUb01RiQblXk7sQyhVYMrrWGU7hQtMgZ2tF ana@laptop
""",
    "wireguard": """\
wireguard:
  interfaces:
    - name: wg0
      config_path: /etc/wireguard/wg0.conf
      content: |
        [Interface]
        PrivateKey = ...
  readinessprobe: [ping -c 1 10.0.0.1]
""",
    "write_files": """\
write_files:
  - path: /etc/motd
    content: |
      Welcome.
  - path: /usr/local/bin/hello
    permissions: "0755"
    encoding: b64
    content: IyEvYmluL3NoCmVjaG8gaGVsbG8K
""",
    "write_files_deferred": """\
write_files:
  - path: /home/ana/notes
    owner: ana:ana
    content: written when ana is there
    defer: true
""",
    "yum_add_repo": """\
yum_repos:
  epel:
    name: Extra Packages
    baseurl: https://download.example.org/epel/9/
    enabled: true
    gpgcheck: false
""",
}
