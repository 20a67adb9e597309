#!/bin/sh
# Written by Rackhand: changes made here are replaced by the next deploy.
# Has systemd start, at boot, the instance that each application's `current` names.
wants=$1/multi-user.target.wants
for current in /opt/rackhand/apps/*/current; do
    release=$(readlink "$current") || continue
    app=${current%/current}
    app=${app##*/}
    mkdir -p "$wants"
    ln -sf "/etc/systemd/system/rackhand-$app@.service" "$wants/rackhand-$app@${release##*/}.service"
done
exit 0
