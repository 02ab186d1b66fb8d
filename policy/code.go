package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// CodeInfo is what a pack's metadata say of one code that it may give.
type CodeInfo struct {
	Code      string
	Pack      string
	Title     string
	Article   string // of Regulation (EU) 2025/327, or "contract"
	ValidFrom string // the day from which the cited rule is law or contract
}

// Codes lists every code that the embedded packs may give, sorted. A code that
// several rules give appears once.
func Codes() ([]CodeInfo, error) {
	p, err := loadPacks(embedded)
	if err != nil {
		return nil, err
	}
	var out []CodeInfo
	for _, ref := range p.compiler.GetAnnotationSet().Flatten() {
		a := ref.Annotations
		if a == nil || a.Custom["code"] == nil {
			continue
		}
		info := CodeInfo{Title: a.Title, Pack: strings.Trim(ref.GetPackage().Path[1].String(), `"`)}
		for key, field := range map[string]*string{"code": &info.Code, "article": &info.Article, "valid_from": &info.ValidFrom} {
			*field = fmt.Sprint(a.Custom[key])
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b CodeInfo) int { return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Title, b.Title)) })
	return slices.CompactFunc(out, func(a, b CodeInfo) bool { return a.Code == b.Code }), nil
}
