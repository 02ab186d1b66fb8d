-- Jobs of several segments: each attempt after the first is the next in number,
-- of a job that is under way and may have so many.

-- +goose Up
ALTER TABLE job ADD COLUMN max_segments INTEGER NOT NULL DEFAULT 1 CHECK (max_segments BETWEEN 1 AND 100); -- as its spec says
-- +goose StatementBegin
CREATE TRIGGER job_segments_fixed BEFORE UPDATE OF max_segments ON job
WHEN NEW.max_segments <> OLD.max_segments
BEGIN
  SELECT RAISE(ABORT, 'how many segments a job has never changes');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER attempt_segments BEFORE INSERT ON attempt
WHEN NEW.number > (SELECT max_segments FROM job WHERE id = NEW.job_id)
  OR NEW.number <> 1 + (SELECT coalesce(max(number), 0) FROM attempt WHERE job_id = NEW.job_id)
  OR (NEW.number > 1 AND (SELECT state FROM job WHERE id = NEW.job_id) <> 'active')
BEGIN
  SELECT RAISE(ABORT, 'not the next segment of a job that goes on');
END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER attempt_segments;
DROP TRIGGER job_segments_fixed;
ALTER TABLE job DROP COLUMN max_segments;
