// SPDX-License-Identifier: GPL-2.0

#include <linux/netdevice.h>
#include <net/netdev_lock.h>

#ifdef CONFIG_NET

__rust_helper void rust_helper_dev_lstats_add(struct net_device *dev,
					      unsigned int len)
{
	/* Each CPU counts for itself, on 32 bits under a sequence count. */
	local_bh_disable();
	dev_lstats_add(dev, len);
	local_bh_enable();
}

__rust_helper void rust_helper_dev_net_set(struct net_device *dev,
					   struct net *net)
{
	dev_net_set(dev, net);
}

__rust_helper unsigned long
rust_helper_netdev_priv_flags(const struct net_device *dev)
{
	return dev->priv_flags;
}

__rust_helper void
rust_helper_netdev_lockdep_set_classes(struct net_device *dev)
{
	netdev_lockdep_set_classes(dev);
}

#endif
