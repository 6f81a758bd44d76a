-- How many manifests of the gateway's own there are among the instances of a
-- study and a series, and which of them stands: the others are not shown. Of
-- what an earlier version 2 took none are counted, and all are shown.
ALTER TABLE study ADD COLUMN manifests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE series ADD COLUMN manifests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deleted_series ADD COLUMN manifests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE life ADD COLUMN manifest TEXT NOT NULL DEFAULT ''; -- SOPInstanceUID of its version's; '' for none
