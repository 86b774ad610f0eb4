#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The counter begins where the parameter says, and goes up by one.

echo 'KTAP version 1'
echo '1..2'

insmod "$MODULES_DIR/@name@.ko" start=40 || exit 1
first=$(cat /dev/@name@)
second=$(cat /dev/@name@)
rmmod @name@ || exit 1

status=0
check() {
	if [ "$3" = "$4" ]; then
		echo "ok $1 $2"
	else
		echo "# $3, not $4"
		echo "not ok $1 $2"
		status=1
	fi
}
check 1 the_parameter_is_where_it_begins "$first" 41
check 2 each_open_counts "$second" 42
exit $status
