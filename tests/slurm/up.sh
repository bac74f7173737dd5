#!/usr/bin/env bash
# A SLURM of one node on this machine, for the tests, as root and without systemd; what runs already stays as it is.
# Debian: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge
set -euo pipefail

for command in munged slurmctld slurmd sbatch; do
    command -v "$command" > /dev/null || PATH=$PATH:/usr/sbin command -v "$command" > /dev/null || {
        echo "there is no $command: install slurmctld, slurmd, slurm-client and munge" >&2
        exit 3
    }
done
if sinfo --noheader --format=%T 2> /dev/null | grep -Eq 'idle|mixed|allocated'; then exit 0; fi
[ "$(id -u)" = 0 ] || { echo "starting a SLURM takes root" >&2; exit 3; }
[ ! -e /etc/slurm/slurm.conf ] || grep -q '^ClusterName=rga-tests$' /etc/slurm/slurm.conf || {
    echo "/etc/slurm/slurm.conf is of another SLURM, which does not run" >&2
    exit 3
}

PATH=$PATH:/usr/sbin
node=$(hostname -s)
mkdir -p /etc/slurm /etc/munge /var/spool/slurmctld /var/spool/slurmd /var/log/slurm /run/munge /var/log/munge /var/lib/munge
[ -f /etc/munge/munge.key ] || head -c 1024 /dev/urandom > /etc/munge/munge.key
chown -R munge: /etc/munge /run/munge /var/log/munge /var/lib/munge
chmod 400 /etc/munge/munge.key
cat > /etc/slurm/slurm.conf << END
ClusterName=rga-tests
SlurmctldHost=$node
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5
ReturnToService=2
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmdSpoolDir=/var/spool/slurmd
StateSaveLocation=/var/spool/slurmctld
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=10
MinJobAge=3600
NodeName=$node CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$node Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
END
pgrep -x munged > /dev/null || runuser -u munge -- munged
pgrep -x slurmctld > /dev/null || slurmctld
pgrep -x slurmd > /dev/null || slurmd -N "$node"
for _ in $(seq 60); do
    if sinfo --noheader --format=%T 2> /dev/null | grep -Eq 'idle|mixed|allocated'; then exit 0; fi
    sleep 1
done
echo "SLURM does not come up: see /var/log/slurm" >&2
exit 1
