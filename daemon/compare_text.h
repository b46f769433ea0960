/* compare_text.h: what the sentences of a comparison share. Pure. */
#ifndef BAKA_DAEMON_COMPARE_TEXT_H
#define BAKA_DAEMON_COMPARE_TEXT_H

/* "3", "1.86", "0.034" */
const char *compare_epoch_text(double epoch, char out[32]);

#endif
