// SPDX-License-Identifier: GPL-2.0
/* The helpers again: an object can be part of one module only. */
#include "../facade/helpers.c"
