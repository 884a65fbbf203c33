/* The demo's service after a release that made parse_json() 60 % slower: see deploy/demo/cart.h. */

#define CART_VERSION       "1.9.0"
#define CART_PARSE_PERCENT 160

#include "deploy/demo/cart.h"

int main(int argc, char **argv)
{
	return cart_main(argc, argv);
}
