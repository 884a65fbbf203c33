/* The demo's service as it was released first: see deploy/demo/cart.h. */

#define CART_VERSION       "1.8.2"
#define CART_PARSE_PERCENT 100

#include "deploy/demo/cart.h"

int main(int argc, char **argv)
{
	return cart_main(argc, argv);
}
