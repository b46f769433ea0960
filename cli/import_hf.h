/* import_hf.h: bakactl import --hf. */
#ifndef BAKA_CLI_IMPORT_HF_H
#define BAKA_CLI_IMPORT_HF_H

struct cli;

/* The worker brings the model into the state directory; then a run that begins from it is submitted. Returns the exit
 * status. */
int import_hf(struct cli *cli);

#endif
