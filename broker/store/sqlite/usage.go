package sqlite

import (
	"context"
	"time"

	"github.com/valico-hpc/valico/broker"
)

// Usage sums what was booked, by project, person, site and day of the booking.
func (s *Store) Usage(ctx context.Context, q broker.UsageQuery) ([]broker.UsageRow, error) {
	out, err := list(ctx, s.read, `SELECT p.id, p.name, j.submitter, x.id, x.name, date(r.settled_at / 1000000, 'unixepoch') AS day,
			count(*), sum(a.usage_gpu_seconds), sum(r.booked), sum(a.usage_cpu_seconds), sum(a.usage_elapsed)
		FROM reservation r JOIN attempt a ON a.reservation_id = r.id JOIN job j ON j.id = r.job_id
			JOIN project p ON p.id = r.project_id JOIN site x ON x.id = j.site_id
		WHERE r.tenant_id = ?1 AND (?2 IS NULL OR r.project_id = ?2) AND r.settled_at >= ?3 AND r.settled_at < ?4
		GROUP BY p.id, j.submitter, x.id, day ORDER BY day, p.name, j.submitter, x.name`,
		[]any{q.Tenant, null(q.Project), q.From.UnixMicro(), q.Until.UnixMicro()}, func(scan scanner) (broker.UsageRow, error) {
			var u broker.UsageRow
			var elapsed int64
			err := scan(&u.Project, &u.ProjectName, &u.Person, &u.Site, &u.SiteName, &u.Day,
				&u.Attempts, &u.GPUSeconds, &u.Charged, &u.CPUSeconds, &elapsed)
			u.Elapsed = time.Duration(elapsed) * time.Microsecond
			return u, err
		})
	return out, translate("sum usage", err)
}
